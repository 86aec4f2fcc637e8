"""Starts the app in this process: one port for page and tiles, one line with the address."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import os
import socket
import sys
import threading
import webbrowser
from pathlib import Path
from typing import Any

from hrviz.errors import HrvizError
from hrviz.views.colour import THEMES, Theme

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
NEIGHBOURS = 20  # ports tried after the one asked for


class _Gone(logging.Filter):
    """Drops uvicorn's trace of a browser that went away while an answer was on its way."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return type(error).__name__ not in ("WebSocketDisconnected", "WebSocketDisconnect")


def theme_options(look: Theme) -> dict[str, Any]:
    """Streamlit's theme options of one of our themes."""
    return {
        "primaryColor": look.accent, "backgroundColor": look.background,
        "secondaryBackgroundColor": look.panel, "textColor": look.text,
        "borderColor": look.line, "linkColor": look.accent,
    }  # fmt: skip


def configure(port: int | None = None) -> None:
    """Set Streamlit's options from code; what the user configured himself stays."""
    from streamlit import config

    port = port or int(config.get_option("server.port") or 8501)
    origins = [f"http://{host}:{port}" for host in ("127.0.0.1", "localhost")]
    options: dict[str, Any] = {
        "browser.gatherUsageStats": False, "server.fileWatcherType": "none",
        "server.headless": True, "server.maxUploadSize": 2048, "server.runOnSave": False,
        "client.toolbarMode": "minimal", "client.showErrorDetails": "none",
        "client.showErrorLinks": False, "ui.hideTopBar": True, "logger.hideWelcomeMessage": True,
        # drawing sets the saliency's widget, which also has a default: that is meant
        "global.disableWidgetStateDuplicationWarning": True,
        "client.showSidebarNavigation": False, "theme.base": "dark", "theme.baseFontSize": 13,
        "theme.baseRadius": "4px", "theme.buttonRadius": "4px", "theme.font": FONT,
        "theme.headingFont": FONT, "theme.showWidgetBorder": True,
        # the page switches its own theme by a message to itself: only its own origin is allowed
        "client.allowedOrigins": origins,
    }  # fmt: skip
    options |= {f"theme.{name}": value for name, value in theme_options(THEMES["dark"]).items()}
    for name, value in options.items():
        if not config.is_manually_set(name):
            with contextlib.suppress(RuntimeError, KeyError, ValueError):
                config.set_option(name, value)
    # a folder called pages makes Streamlit run a page alone, without Home.py, when its address is
    # opened first; st.navigation says the same, but only once Home.py has run
    with contextlib.suppress(ImportError):
        from streamlit.runtime.pages_manager import PagesManager

        PagesManager.uses_pages_directory = False


def server_file() -> Path:
    """`server.py` of the app: beside the package in a checkout, inside it when installed."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "app", package.parent / "app"):
        if (folder / "server.py").is_file():
            return folder / "server.py"
    raise HrvizError("the app's pages are not installed: pip install 'hrviz[app]'")


def free_port(host: str, port: int) -> int:
    """`port`, or the next one that is free.

    Raises
    ------
    HrvizError
        When the host is not of this machine, or twenty ports in a row are taken.
    """
    if not 0 < port < 65536:
        raise HrvizError(f"port {port} is out of range: choose 1 to 65535")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, min(port + NEIGHBOURS, 65536)):
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, candidate))
            except OSError as error:
                if error.errno in (98, 48, 13, 10013, 10048):
                    continue
                raise HrvizError(
                    f"host {host!r} cannot be used ({error.strerror}): try 127.0.0.1"
                ) from None
            return candidate
    raise HrvizError(
        f"ports {port} to {port + NEIGHBOURS - 1} are taken: choose another with --port"
    )


def load_app() -> Any:
    """The ASGI app that `server.py` makes."""
    file = server_file()
    spec = importlib.util.spec_from_file_location("hrviz_app_server", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.app


def launch(
    image: str | None, host: str = "127.0.0.1", port: int = 8501, browser: bool = True
) -> int:
    """Serve the app until it is stopped.

    Parameters
    ----------
    image : str, optional
        What is shown first.
    host : str
    port : int
        If it is taken, the next free one.
    browser : bool
        Whether to open one.

    Returns
    -------
    int
        Exit status.
    """
    import uvicorn

    if image:
        local = not image.startswith("scene:") and Path(image).exists()
        os.environ["HRVIZ_IMAGE"] = str(Path(image).resolve()) if local else image
    chosen = free_port(host, port)
    if chosen != port:
        print(f"hrviz: port {port} is taken, using {chosen}")
    logging.getLogger("streamlit").setLevel(logging.ERROR)
    logging.getLogger("uvicorn.error").addFilter(_Gone())
    configure(chosen)
    shown = "127.0.0.1" if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    address = f"http://{shown}:{chosen}"
    if shown not in ("127.0.0.1", "localhost"):
        names = os.environ.get("HRVIZ_ALLOWED_HOSTS", "")
        os.environ["HRVIZ_ALLOWED_HOSTS"] = f"{names},{shown}".strip(",")
    server = uvicorn.Server(
        uvicorn.Config(load_app(), host=host, port=chosen, log_level="warning", access_log=False,
                       ws_max_size=2**28, timeout_graceful_shutdown=1)
    )  # fmt: skip
    print(f"hrviz: {address}  (Ctrl-C stops)", flush=True)
    if browser:
        threading.Timer(1.0, webbrowser.open, (address,)).start()
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    print("hrviz: stopped")
    return 0
