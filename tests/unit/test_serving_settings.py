from pathlib import Path

from serving.settings import settings_from_environment


def test_home_moves_all_state():
    settings = settings_from_environment({"CLIPWISE_HOME": "/state"})
    assert settings.home == Path("/state")
    assert settings.tracking_uri == "sqlite:////state/mlflow.db"


def test_service_binds_to_loopback_and_the_wall_clock_by_default():
    settings = settings_from_environment({})
    assert (settings.host, settings.port, settings.replay) == ("127.0.0.1", 8080, False)
    assert settings.home.name == ".clipwise"


def test_tracking_server_is_chosen_by_its_own_variable():
    settings = settings_from_environment({"MLFLOW_TRACKING_URI": "http://registry:5000"})
    assert settings.tracking_uri == "http://registry:5000"


def test_what_is_given_wins_over_the_environment():
    environ = {"CLIPWISE_HOME": "/state", "MLFLOW_TRACKING_URI": "http://registry:5000"}
    settings = settings_from_environment(environ, home=Path("/other"), port=9000, replay=True)
    assert (settings.home, settings.port, settings.replay) == (Path("/other"), 9000, True)


def test_feature_repo_is_the_folder_with_the_feature_definitions():
    assert (settings_from_environment({}).feature_repo / "names.py").exists()


def test_webhook_secret_comes_from_the_environment_and_is_never_shown():
    settings = settings_from_environment({"CLIPWISE_WEBHOOK_SECRET": "s3cret"})
    assert settings.webhook_secret == "s3cret" and "s3cret" not in repr(settings)
    for environ in ({}, {"CLIPWISE_WEBHOOK_SECRET": ""}):
        assert settings_from_environment(environ).webhook_secret is None
