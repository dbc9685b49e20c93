import threading

from serving.decisions.shadow import Shadow


def test_shadow_work_never_blocks_the_caller_and_skipped_work_is_counted():
    shadow, released, done = Shadow(capacity=1), threading.Event(), []
    started = threading.Event()

    def slow() -> None:
        started.set()
        released.wait(10)

    shadow.start()
    shadow.submit(slow)
    assert started.wait(10)
    for number in range(3):
        shadow.submit(lambda number=number: done.append(number))
    assert shadow.skipped == 2 and not done
    released.set()
    shadow.close()
    assert done == [0]


def test_failed_shadow_job_is_counted_and_the_next_one_runs():
    shadow, done = Shadow(), []
    shadow.start()
    shadow.submit(lambda: 1 / 0)
    shadow.submit(lambda: done.append(1))
    shadow.close()
    assert (done, shadow.skipped) == ([1], 1)
