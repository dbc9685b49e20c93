"""Security headers of every answer, for the case that a browser opens it."""

CONTENT_SECURITY_POLICY = b"content-security-policy"

# An answer is data for a program. A browser must run and embed nothing of it.
SECURITY_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
STRICTEST_POLICY = (CONTENT_SECURITY_POLICY, b"default-src 'none'; frame-ancestors 'none'")
"""The header that lets a browser load nothing. The docs page has its own policy instead."""
