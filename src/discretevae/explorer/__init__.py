"""A page in the browser where codes are flipped, walked, drawn and compared.

From the top: `serving` (port, browser, Ctrl-C), `app` (addresses), `guards` (who may ask, how much)
and `requests` (what a request may hold); then `answers`, which knows nothing of the web, and what
it is made of: `galleries`, `variables`, `pictures`, `effects`, `groups`.
"""
