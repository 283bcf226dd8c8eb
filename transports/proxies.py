"""Which proxy leads to a host, by the usual environment variables. Pure.

Read from a mapping and not from the process, so that each side of a move can have its own.
"""

from collections.abc import Mapping


def proxy_of(
    scheme: str, host: str, port: int | None, environment: Mapping[str, str]
) -> str | None:
    """The proxy's URL, or None for none: ``HTTP(S)_PROXY``, ``ALL_PROXY``, less ``NO_PROXY``."""
    folded = {name.lower(): value for name, value in environment.items() if value}
    proxy = folded.get(f"{scheme}_proxy") or folded.get("all_proxy", "")
    if not proxy or is_exempt(host, port, folded.get("no_proxy", "")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def is_exempt(host: str, port: int | None, no_proxy: str) -> bool:
    """Whether ``no_proxy`` names the host: itself, a domain it is in, or ``*`` for all."""
    names = (host.lower(), f"{host.lower()}:{port}")
    for word in no_proxy.lower().replace(",", " ").split():
        domain = word.removeprefix("*").lstrip(".")
        if not domain or any(name == domain or name.endswith(f".{domain}") for name in names):
            return True
    return False
