"""Notes on the lines of a cart that do not count as goods that coupons know."""

from collections.abc import Iterator

from serving.candidates.index import CandidateIndex
from serving.schemas.recommendation import CartItem, CartNote, RecommendationRequest

_ZERO = "left out: its quantity is 0"
_TWICE_NEGATIVE = "left out: quantity and unit_price are both negative"
_DEDUCTION = "lowers the cart's total; no coupon is for it"
_UNKNOWN = "the product is not in the lake; only coupons for the whole cart cover it"


def cart_notes(
    request: RecommendationRequest, index: CandidateIndex, has_unknown: bool
) -> tuple[CartNote, ...] | None:
    """Returns a note for each line with one, None without any.

    ``has_unknown`` is true if some goods are not in the lake.
    """
    if not has_unknown and len(request.lines) == len(request.cart):
        return None
    return tuple(_notes(request.cart, index))


def _notes(cart: tuple[CartItem, ...], index: CandidateIndex) -> Iterator[CartNote]:
    for line, item in enumerate(cart):
        note = _note(item, index)
        if note is not None:
            yield CartNote(line=line, product_id=item.product_id, note=note)


def _note(item: CartItem, index: CandidateIndex) -> str | None:
    if item.is_goods:
        return _UNKNOWN if index.has_unknown((item.product_id,)) else None
    if item.is_deduction:
        return _DEDUCTION
    return _ZERO if item.quantity == 0 else _TWICE_NEGATIVE
