"""How the app looks: the style sheet over Streamlit's own, and the bar's two small tools."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import streamlit as st

from hrviz.viewer.launch import FONT, theme_options
from hrviz.views.colour import THEMES, Theme

TOOLS_JS = """
export default function ({ data, parentElement, setStateValue }) {
  const root = parentElement.querySelector('.t');
  const put = (name) => window.postMessage(
    { stCommVersion: 1, type: 'SET_CUSTOM_THEME_CONFIG', themeName: 'hrviz ' + name, themeInfo: data.themes[name] }, '*');
  const other = data.theme === 'dark' ? 'light' : 'dark';
  root.dataset.theme = data.theme;
  const [copy, theme] = root.querySelectorAll('button');
  theme.title = `Switch to the ${other} theme`;
  theme.setAttribute('aria-label', theme.title);
  if (root.shown !== data.theme) {
    const first = root.shown === undefined;
    root.shown = data.theme;
    if (!first || data.theme !== 'dark') { put(data.theme); if (first) setTimeout(() => put(data.theme), 700); }
  }
  theme.onclick = () => { root.shown = other; root.dataset.theme = other; put(other); setStateValue('theme', other); };
  copy.onclick = async () => {
    let ok = true;
    try { await navigator.clipboard.writeText(window.location.href); } catch (error) { ok = false; }
    if (!ok) window.prompt('Copy this link', window.location.href);
    copy.textContent = 'Copied';
    setTimeout(() => { copy.textContent = 'Copy link'; }, 1500);
  };
}
"""
TOOLS_CSS = """
.t { display: flex; gap: 8px; --fg: #E7E9EC; --line: #3A4048; --accent: #5AB0FF; }
.t[data-theme="light"] { --fg: #1B1E22; --line: #D5D9DE; --accent: #0B61C2; }
button { all: unset; box-sizing: border-box; cursor: pointer; height: 28px; padding: 0 8px; border: 1px solid var(--line);
  border-radius: 4px; color: var(--fg); font: 12px/26px system-ui, sans-serif; white-space: nowrap; }
button:hover { color: var(--accent); border-color: var(--accent); }
button:focus-visible { outline: 2px solid var(--accent); }
svg { width: 16px; height: 26px; fill: none; stroke: currentColor; stroke-width: 1.4; display: block; }
"""
TOOLS_HTML = """<div class="t"><button type="button" title="Copy a link to what you see now">Copy link</button>
<button type="button"><svg viewBox="0 0 16 16" aria-hidden="true"><circle cx="8" cy="8" r="5.2"/>
<path d="M8 2.8a5.2 5.2 0 0 1 0 10.4z" fill="currentColor"/></svg></button></div>"""


@cache
def _tools() -> Callable[..., Any]:
    made: Callable[..., Any] = st.components.v2.component(
        "hrviz.tools", html=TOOLS_HTML, css=TOOLS_CSS, js=TOOLS_JS
    )
    return made


def tools(theme: str) -> str | None:
    """Copy link and theme switch; the theme the user chose, if any."""
    themes = {
        name: theme_options(look) | {"base": int(name == "dark"), "bodyFont": FONT, "headingFont": FONT,
              "baseFontSize": 13, "baseRadius": "4px", "buttonRadius": "4px", "showWidgetBorder": True}
        for name, look in THEMES.items()
    }  # fmt: skip
    result = _tools()(key="tools", data={"theme": theme, "themes": themes}, width="content",
                      height="content", on_theme_change=lambda: None)  # fmt: skip
    chosen = result.get("theme")
    fresh = chosen != st.session_state.get("tools-seen")
    st.session_state["tools-seen"] = chosen
    return chosen if fresh else None


def css(look: Theme, name: str) -> str:
    """The whole style sheet of one theme; spacing in steps of 8 px."""
    problem = "#FFB4A8" if name == "dark" else "#A32315"
    return _SHEET.replace(
        "/*vars*/",
        f"""
      --bg: {look.background}; --panel: {look.panel}; --fg: {look.text}; --soft: {look.muted};
      --line: {look.line}; --accent: {look.accent}; --problem: {problem};""",
    )


_SHEET = """
:root { /*vars*/ --film: 72px; }
@media (max-width: 1270px) { :root { --film: 104px; } }
header[data-testid="stHeader"], [data-testid="stToolbar"], [data-testid="stDecoration"], [data-testid="stStatusWidget"],
[data-testid="stSidebar"], [data-testid="stSidebarCollapsedControl"], [data-testid="stExpandSidebarButton"],
[data-testid="stAppDeployButton"], #MainMenu, footer { display: none !important; }
html, body, .stApp, [data-testid="stMain"] { background: var(--bg) !important; color: var(--fg); font-variant-numeric: tabular-nums; }
[data-testid="stMain"] { overflow-x: hidden; scrollbar-gutter: auto; }
.stMainBlockContainer, [data-testid="stMainBlockContainer"] { padding: 0 !important; max-width: none !important; }
[data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"] { gap: 0 !important; }
[data-stale="true"], .stale-element { opacity: 1 !important; transition: none !important; }
[data-testid="stElementContainer"]:has(> .stHtml > style) { display: none; }
.st-key-bar { height: 40px; min-height: 40px; flex-shrink: 0 !important; box-sizing: border-box; padding: 0 8px; background: var(--panel); border-bottom: 1px solid var(--line); overflow: hidden; }
.st-key-bar > * { flex-shrink: 0; }
.hv-brand { font-size: 15px; letter-spacing: .02em; padding: 0 8px; }
.st-key-bar .hv-disclaimer { display: block; text-align: right; color: var(--soft); font-size: 11px; white-space: nowrap;
  overflow: hidden; text-overflow: ellipsis; padding: 0 8px; }
.st-key-bar [data-testid="stElementContainer"]:has(.hv-disclaimer) { flex: 1 1 0 !important; min-width: 0; }
.st-key-bar a[data-testid="stPageLink-NavLink"] { padding: 4px 8px; border-radius: 4px; min-height: 28px; }
.st-key-bar a[data-testid="stPageLink-NavLink"] p { font-size: 13px; color: var(--soft); }
.st-key-bar a[data-testid="stPageLink-NavLink"]:hover { background: var(--bg); }
.st-key-bar [data-testid="stPopover"] button { min-height: 28px; padding: 0 8px; font-size: 12px; }
.st-key-bar [data-testid="stPopover"] p { font-size: 12px; }
.st-key-desk { gap: 0 !important; height: calc(100vh - 40px) !important; max-height: calc(100vh - 40px); overflow: hidden; }
.st-key-desk .st-key-rail, .st-key-desk .st-key-inspector, .st-key-desk .st-key-side { height: calc(100vh - 40px) !important; max-height: calc(100vh - 40px); overflow-y: auto;
  overflow-x: hidden; padding: 8px; background: var(--bg); scrollbar-width: thin; flex-shrink: 0; flex-wrap: nowrap; gap: 8px; }
.st-key-stage { min-width: 0; gap: 0 !important; flex: 1 1 0 !important; }
.st-key-stage > * { flex-shrink: 0; }
.st-key-stage { border-right: 1px solid var(--line); } .st-key-rail { border-right: 0; }
.st-key-strip { height: 48px; padding: 8px; gap: 8px !important; background: var(--bg); border-top: 1px solid var(--line); overflow: hidden; }
.st-key-strip button { min-height: 32px; height: 32px; padding: 0 8px; white-space: nowrap; }
.st-key-strip button p { font-size: 12px; white-space: nowrap; }
.st-key-film { height: var(--film); padding: 8px; gap: 4px !important; background: var(--bg); border-top: 1px solid var(--line); overflow-x: hidden; overflow-y: auto;
  scrollbar-width: thin; }
.st-key-film [data-testid="stButtonGroup"] { max-width: 100%; } .st-key-film [data-testid="stButtonGroup"] > div { gap: 0; row-gap: 4px; }
.st-key-film button { min-height: 28px; height: 28px; padding: 0 6px; white-space: nowrap; }
.st-key-film button p { font-size: 11px; white-space: nowrap; }
.st-key-chart { height: 216px; padding: 8px; background: var(--bg); border-top: 1px solid var(--line); overflow: hidden; }
.st-key-viewer { gap: 0 !important; } .st-key-strip .hv-now { white-space: nowrap; font-variant-numeric: tabular-nums; }
.st-key-strip [data-testid="stSlider"] { padding: 0 8px; } .st-key-strip [data-testid="stSliderTickBar"] { display: none; }
[data-testid="stPopoverBody"]:has(.st-key-scenes) { width: 448px; max-width: calc(100vw - 32px); max-height: calc(100vh - 56px) !important; }
[data-testid="stPopoverBody"] .st-key-scenes { display: grid; grid-template-columns: 1fr 1fr; gap: 8px; }
[data-testid="stPopoverBody"] > [data-testid="stVerticalBlock"] { gap: 8px; }
[data-testid="stPopoverBody"] button { min-height: 32px; padding: 4px 8px; } [data-testid="stPopoverBody"] button p { font-size: 12px; }
.hv-answer { font-size: 12px; line-height: 16px; color: var(--soft); } .hv-answer b { color: var(--fg); font-size: 15px; padding-left: 8px; }
.hv-rim { box-shadow: 0 0 0 1px var(--line); }
.hv-noted { display: block; color: var(--soft); font-size: 12px; line-height: 16px; max-height: 32px; overflow: hidden; }
.st-key-rail h6 { font-size: 11px; color: var(--soft); font-weight: 600; margin: 8px 0 0; padding: 0; line-height: 16px; }
.st-key-rail button { justify-content: flex-start; text-align: left; min-height: 32px; padding: 4px 8px; border: 0; border-left: 3px solid transparent;
  border-radius: 0 4px 4px 0; background: transparent; color: var(--fg); }
.st-key-rail button > div, .st-key-rail button span { justify-content: flex-start; text-align: left; }
.st-key-rail button p { font-size: 12px; line-height: 16px; text-align: left; }
.st-key-rail button:hover { background: var(--panel); color: var(--fg); }
.st-key-rail button[kind="primary"], .st-key-rail button[data-testid="stBaseButton-primary"] { background: var(--panel); color: var(--fg); font-weight: 600; }
.hv-title { font-size: 15px; font-weight: 600; line-height: 24px; margin: 0; }
.hv-idea { color: var(--soft); font-size: 12px; line-height: 16px; margin: 0; }
.hv-soft { color: var(--soft); }
.hv-badge { display: inline-block; font-size: 11px; line-height: 16px; padding: 0 8px; border: 1px solid var(--line); border-radius: 8px; color: var(--soft); }
.hv-badge.hv-trained { border-color: #009E73; } .hv-badge.hv-oracle { border-color: #E69F00; }
.hv-badge.hv-stand-in { border-color: #CC79A7; } .hv-badge.hv-drawn { border-color: #56B4E9; }
.hv-sentence { font-size: 12px; line-height: 16px; padding: 8px; border-left: 3px solid var(--problem); background: var(--panel); border-radius: 0 4px 4px 0; }
.hv-sentence.hv-notice { border-color: var(--accent); }
.hv-line { height: 2px; background: var(--line); } .hv-line i { display: block; height: 2px; background: var(--accent); transition: width .2s; }
.hv-left { display: block; font-size: 11px; color: var(--soft); line-height: 16px; }
.hv-facts, .hv-levels, .hv-table { border-collapse: collapse; width: 100%; font-size: 12px; line-height: 16px; margin: 0; }
.hv-facts th, .hv-facts td, .hv-levels th, .hv-levels td { border: 0; padding: 2px 0; vertical-align: top; text-align: left; font-weight: 400; }
.hv-facts th, .hv-levels th { color: var(--soft); padding-right: 8px; max-width: 96px; }
.hv-facts td { overflow-wrap: anywhere; }
.hv-levels td:nth-child(n+2), .hv-levels th:nth-child(n+2) { text-align: right; }
.hv-h { font-size: 12px; font-weight: 600; margin: 8px 0 0; line-height: 16px; }
.hv-cost { margin-bottom: 8px; } .hv-cost h6 { font-size: 12px; font-weight: 600; margin: 0 0 4px; padding: 0; line-height: 16px; }
.hv-row { display: grid; grid-template-columns: 1fr auto auto; column-gap: 8px; font-size: 11px; line-height: 16px; margin-bottom: 4px; }
.hv-name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; color: var(--soft); }
.hv-num { text-align: right; white-space: nowrap; } .hv-tag { color: var(--soft); min-width: 48px; text-align: right; }
.hv-track { grid-row: 2; grid-column: 1 / -1; height: 4px; background: var(--panel); border-radius: 2px; }
.hv-track i { display: block; height: 4px; border-radius: 2px; }
.hv-scroll { overflow-x: auto; } .hv-table th, .hv-table td { padding: 4px 16px 4px 0; border: 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
.hv-table th:first-child { text-align: left; } .hv-table small { display: block; color: var(--soft); font-size: 10px; line-height: 12px; }
.hv-dot { display: inline-block; width: 8px; height: 8px; border-radius: 50%; margin-right: 8px; }
.st-key-inspector [data-testid="stVerticalBlock"], .st-key-side [data-testid="stVerticalBlock"] { gap: 8px; }
.st-key-inspector label p, .st-key-side label p { font-size: 12px; }
.st-key-inspector button p, .st-key-side button p { font-size: 12px; }
.st-key-inspector [data-testid="stTabs"] button p, .st-key-side [data-testid="stTabs"] button p { font-size: 12px; }
.st-key-inspector [data-testid="stSlider"] { padding: 0 4px; }
.st-key-inspector [data-testid="stExpander"] summary, .st-key-side [data-testid="stExpander"] summary { padding: 4px 8px; }
.st-key-notes { position: fixed; z-index: 1000; top: 48px; left: 50%; transform: translateX(-50%); width: min(640px, calc(100vw - 32px)) !important;
  background: var(--panel); border: 1px solid var(--line); border-radius: 4px; padding: 0 8px 0 0; box-shadow: 0 4px 16px rgba(0, 0, 0, .3); }
.st-key-choice { padding: 8px 16px; } .st-key-choice label p { font-size: 12px; }
.hv-head { display: flex; align-items: center; height: 24px; gap: 8px; padding: 0 8px; font-size: 12px; overflow: hidden; white-space: nowrap; }
.hv-head .hv-dot { margin: 0; flex: none; } .hv-head .hv-badge { overflow: hidden; text-overflow: ellipsis; }
.st-key-inspector .katex { font-size: .8em; } .st-key-inspector .katex-display { overflow-x: auto; overflow-y: hidden; text-align: left; padding-bottom: 8px; }
.st-key-inspector .katex-display > .katex { text-align: left; }
.st-key-below { padding: 16px; gap: 16px; }
.st-key-memory-side { min-height: calc(100vh - 40px); max-height: calc(100vh - 40px); overflow-y: auto; overflow-x: hidden; padding: 8px; gap: 8px;
  border-right: 1px solid var(--line); flex-shrink: 0; flex-wrap: nowrap; scrollbar-width: thin; background: var(--bg); }
.st-key-memory-side label p, .st-key-memory-side button p { font-size: 12px; }
.st-key-memory-stage { position: relative; min-width: 0; flex: 1 1 0 !important; gap: 0 !important; min-height: calc(100vh - 40px); max-height: calc(100vh - 40px); overflow: hidden; }
.st-key-memory-stage > *, .st-key-memory-panel > * { flex-shrink: 0; }
.st-key-memory-strip { min-height: 40px; max-height: 40px; box-sizing: border-box; padding: 4px 8px; border-bottom: 1px solid var(--line); overflow: hidden; }
.st-key-memory-strip button, .st-key-memory-tabs button { min-height: 28px; height: 28px; padding: 0 8px; white-space: nowrap; }
.st-key-memory-strip button p, .st-key-memory-tabs button p { font-size: 12px; white-space: nowrap; }
.st-key-memory-chart, .st-key-memory-chart > div:has(.js-plotly-plot), .st-key-memory-chart [data-testid="stFullScreenFrame"], .st-key-memory-chart [data-testid="stPlotlyChart"] {
  height: calc(100vh - 80px - var(--memory-panel, 104px)) !important; min-height: calc(100vh - 80px - var(--memory-panel, 104px)); max-height: calc(100vh - 80px - var(--memory-panel, 104px)); overflow: hidden; }
.st-key-memory-panel { min-height: var(--memory-panel, 104px); max-height: var(--memory-panel, 104px); box-sizing: border-box; border-top: 1px solid var(--line); overflow: hidden; }
.st-key-memory-tabs { min-height: 40px; max-height: 40px; box-sizing: border-box; padding: 4px 8px; flex-shrink: 0; } .st-key-memory-tabs .hv-left { text-align: right; }
.st-key-memory-tabs [data-testid="stSlider"] { padding: 0 16px; max-width: 320px; margin-left: auto; }
.st-key-memory-tabs [data-testid="stSliderThumbValue"], .st-key-memory-tabs [data-testid="stSliderTickBar"] { display: none; } .hv-at { font-size: 12px; white-space: nowrap; }
.st-key-memory-inside > * { flex-shrink: 0; } .st-key-memory-inside > div:has(> .st-key-memory-step), .st-key-memory-step { min-height: 0; }
.st-key-memory-inside > div > div > [data-testid="stPlotlyChart"], .st-key-memory-inside > [data-testid="stElementContainer"]:has(.js-plotly-plot) { height: calc(var(--memory-panel) - 50px) !important; }
.st-key-memory-line [data-testid="stElementContainer"]:has(.js-plotly-plot) { height: calc(var(--memory-panel) - 84px) !important; }
.st-key-memory-inside { min-height: calc(var(--memory-panel, 104px) - 41px); max-height: calc(var(--memory-panel, 104px) - 41px); box-sizing: border-box; padding: 0 8px 8px; overflow: auto; scrollbar-width: thin; }
.st-key-memory-progress { position: absolute; z-index: 5; top: 48px; right: 16px; width: 264px !important; padding: 4px 8px; background: var(--panel); border: 1px solid var(--line); border-radius: 4px; }
.st-key-memory-progress button { min-height: 24px; height: 24px; padding: 0 8px; } .st-key-memory-progress button p { font-size: 12px; }
.hv-over { position: absolute; z-index: 4; right: 16px; bottom: calc(var(--memory-panel, 104px) + 56px); max-width: 400px; }
.st-key-memory-legend button { justify-content: flex-start; text-align: left; min-height: 28px; padding: 2px 8px; border: 0; border-left: 3px solid transparent; border-radius: 0 4px 4px 0; background: transparent; color: var(--fg); }
.st-key-memory-legend button > *, .st-key-memory-legend button > * > *, .st-key-memory-legend button [data-testid="stMarkdownContainer"] { width: 100%; flex: 1 1 auto; justify-content: flex-start; text-align: left; }
.st-key-memory-legend button p { display: flex; gap: 6px; width: 100%; font-size: 12px; line-height: 16px; text-align: left; } .st-key-memory-legend button p > span:last-child { margin-left: auto; white-space: nowrap; color: var(--soft); }
.st-key-memory-legend button:hover { background: var(--panel); }
.st-key-memory-legend button[data-testid="stBaseButton-primary"] { background: var(--panel); color: var(--fg); }
.st-key-memory-empty { min-height: 320px; justify-content: center; text-align: center; } .st-key-memory-empty > * { align-self: center; }
.st-key-memory-held { border-left: 1px solid var(--line); padding-left: 8px; flex-shrink: 0; }
.hv-said { font-size: 13px; line-height: 18px; margin: 0; } .hv-step { font-size: 12px; line-height: 16px; margin: 0; }
.hv-held { border-collapse: collapse; width: 100%; table-layout: fixed; font-size: 11px; line-height: 16px; margin: 0; }
.hv-held th, .hv-held td { border: 0; padding: 1px 8px 1px 0; text-align: left; font-weight: 400; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.hv-held th { width: 64px; text-align: right; } .hv-held td:nth-child(2) { width: 92px; }
.hv-glyph { font-style: normal; display: inline-block; width: 16px; } .hv-table th.hv-now { color: var(--accent); font-weight: 600; }
.hv-columns { display: grid; grid-template-columns: repeat(3, 1fr); gap: 24px; font-size: 12px; line-height: 16px; } .hv-columns ul { margin: 4px 0 0; padding-left: 16px; }
.hv-large { font-size: 14px; line-height: 20px; max-width: 800px; } .hv-large tr:first-child th { white-space: normal; vertical-align: bottom; font-weight: 400; color: var(--soft); font-size: 12px; line-height: 16px; max-width: 152px; } .hv-large small { font-size: 11px; line-height: 16px; }
.st-key-memory-inside table:not(.hv-held) { font-size: 12px; line-height: 16px; } .st-key-memory-inside [data-testid="stMarkdown"] table th, .st-key-memory-inside [data-testid="stMarkdown"] table td { padding: 4px 8px; white-space: nowrap; border-width: 0 0 1px 0; }
.st-key-memory-inside [data-testid="stMarkdown"] { overflow-x: auto; } .st-key-memory-inside [data-testid="stMarkdown"] thead th { color: var(--soft); font-weight: 400; }
.st-key-memory-inside .katex { font-size: .95em; }
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
"""
