"""Inputs from the cart of a request: what of it a coupon covers, or nearly covers."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from feature_repo.transforms.request.scope import ScopeStack, hits_of_columns

Attributes = Mapping[str, tuple[str | None, str | None]]
"""The category and the brand of each product; None if it has none."""

NO_ATTRIBUTES: Attributes = {}

DERIVED: Mapping[str, str] = {
    "cart_covered_quantity": "Sum of quantity over cart lines of products in scope_product_ids; 0 "
    "without a cart.",
    "cart_covered_amount": "Sum of quantity * unit_price (minor units) over the same lines; 0 "
    "without a cart.",
    "cart_covered_line_count": "Number of the same lines.",
    "cart_category_amount": "Sum of quantity * unit_price (minor units) over cart lines of a "
    "category in scope_category_ids.",
    "cart_brand_amount": "Sum of quantity * unit_price (minor units) over cart lines of a brand in "
    "scope_brand_ids.",
    "cart_amount": "Sum of quantity * unit_price (minor units) over all cart lines.",
}
"""The definition of each input, in order. A line's category and brand are those of the first
version of its product."""

INPUTS = tuple(DERIVED)
"""The inputs that ``cart_inputs`` computes, in order."""

_QUANTITY, _AMOUNT, _LINES, _CATEGORY, _BRAND, _TOTAL = range(len(INPUTS))


class CartLine(NamedTuple):
    """A line of the cart: the quantity, and the price of one unit in minor units.

    A named tuple, as each request makes one a line, and a frozen data class takes twice as long.
    """

    product_id: str
    quantity: float
    unit_price: float


def cart_inputs(
    scopes: ScopeStack,
    candidates: np.ndarray,
    carts: Sequence[Sequence[CartLine]] | None,
    attributes: Attributes,
    out: np.ndarray,
) -> None:
    """Writes ``INPUTS`` to ``out``, of shape ``(users, candidates, len(INPUTS))``.

    ``scopes`` has a layer for products, categories and brands. All inputs are 0 without a cart.

    >>> from feature_repo.transforms.request.scope import Scope
    >>> covered = [Scope.from_lists([[name], []]) for name in ("milk", "dairy", "farm")]
    >>> out = np.empty((1, 2, len(INPUTS)))
    >>> cart, attributes = [CartLine("milk", 2, 150)], {"milk": ("dairy", "other")}
    >>> cart_inputs(ScopeStack.from_scopes(covered), np.array([0, 1]), [cart], attributes, out)
    >>> out[0].tolist()
    [[2.0, 300.0, 1.0, 300.0, 0.0, 300.0], [0.0, 0.0, 0.0, 0.0, 0.0, 300.0]]
    """
    out[...] = 0.0
    if carts is None or not any(carts):
        return
    user_count, lines = len(carts), [line for cart in carts for line in cart]
    owner = np.repeat(np.arange(user_count), [len(cart) for cart in carts])
    quantity = np.array([line.quantity for line in lines], dtype=np.float64)
    amount = quantity * np.array([line.unit_price for line in lines], dtype=np.float64)
    out[..., _TOTAL] = np.bincount(owner, amount, minlength=user_count)[:, None]
    # The lines stand once in each layer, so that one pass finds the products, categories, brands.
    layers = len(scopes.scopes)
    layer = (np.arange(layers)[:, None] * user_count + owner).ravel()
    hits = hits_of_columns(scopes, candidates, layer, scopes.columns(_ids(lines, attributes)))
    shape = (layers, user_count, len(candidates))
    amounts = hits.total(np.tile(amount, layers), shape)
    out[..., _AMOUNT], out[..., _CATEGORY], out[..., _BRAND] = amounts
    products, inside = hits.before(len(lines)), shape[1:]
    out[..., _QUANTITY] = products.total(quantity, inside)
    out[..., _LINES] = products.total(np.ones(len(lines)), inside)


def _ids(lines: Sequence[CartLine], attributes: Attributes) -> tuple[list[str], ...]:
    """Lists the products, categories and brands of the lines; an unknown one covers nothing."""
    products = [line.product_id for line in lines]
    found = [attributes.get(one, _NONE) for one in products]
    return products, [one[0] or "" for one in found], [one[1] or "" for one in found]


_NONE = (None, None)
