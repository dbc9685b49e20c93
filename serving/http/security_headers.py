"""What every answer carries for a browser that may open it, whoever writes the answer."""

POLICY = b"content-security-policy"

# An answer is data for a program. Should a browser ever open one, it runs and embeds nothing.
SECURITY = (
    (b"x-content-type-options", b"nosniff"),
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
)
NOTHING = (POLICY, b"default-src 'none'; frame-ancestors 'none'")
