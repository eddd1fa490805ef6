"""Figures for people: tables, plots, the README's table. Nothing here measures."""

from __future__ import annotations

import re
from html import escape
from pathlib import Path
from typing import Any

Result = dict[str, Any]
README = Path(__file__).resolve().parents[1] / "README.md"
_BEGIN, _END = "<!-- bench:begin", "<!-- bench:end -->"
_BLUE, _GREY, _TEXT = "#2f6fb3", "#b8c4d0", "#1c2733"


def thousands(value: float | None) -> str:
    """A rate: three digits are enough, and all that is meant."""
    if value is None:
        return "–"
    return f"{float(f'{value:.3g}'):,.0f}".replace(",", " ") if abs(value) >= 100 else f"{value:.3g}"


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns side by side, numbers to the right."""
    widths = [max(len(row[n]) for row in [head, *rows]) for n in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join("  " + line for line in lines)


def text(result: Result) -> str:
    """Everything that was measured, as tables."""
    machine = result["machine"]
    parts = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory'] / 2**30:.0f} GiB, {machine['kernel']}, "
        f"Python {machine['python']}, PostgreSQL {machine['postgres']}; commit {result['commit'] or 'unknown'}"
    ]
    for name, show in (
        ("decode", _decode), ("ingest", _ingest), ("latency", _latency), ("mqtt", _mqtt), ("workers", _workers),
        ("memory", _memory), ("scale", _scale), ("desk", _desk),
    ):  # fmt: skip
        if result.get(name):
            parts.append(show(result[name]))
    return "\n\n".join(parts)


def _decode(decode: Result) -> str:
    rows = [
        [
            name,
            thousands(told["records_per_s"]),
            thousands(told["decoder_records_per_s"]),
            thousands(told["construct_records_per_s"]),
            thousands(told["struct_records_per_s"]),
            "; ".join(f"{who} {thousands(rate)}" for who, rate in told["public"].items()) or "–",
        ]
        for name, told in decode.items()
    ]
    head = [
        "records/s of one core",
        "session + decoder",
        "decoder alone",
        "declaration",
        "struct loop",
        "public decoders",
    ]
    return "Decode, 20 records a frame\n" + table(head, rows)


def _ingest(ingest: list[Result]) -> str:
    rates = [
        [
            f"{row['terminals']} × {row['window']} × {row['records_per_frame']}",
            *(thousands(row[name]) for name in ("frames_per_s", "records_per_s", "bare_frames_per_s")),
            f"{row['ratio']:.2f}",
            f"{row['cpu_us_per_frame']:.1f}",
            f"{row['bare_cpu_us_per_frame']:.1f}",
            f"{row['store_cpu_us_per_frame']:.1f}",
            *(thousands(row[name]) for name in ("copy_records_per_s", "copy2_records_per_s")),
            f"{row['records_per_s'] / row['copy_records_per_s']:.2f}",
            f"{row['commit_ms']:.1f}",
            thousands(row["records_per_commit"]),
        ]
        for row in ingest
        if "ratio" in row
    ]
    head = [
        "terminals × in flight × records", "frames/s", "records/s", "bare", "ratio", "CPU µs", "bare", "PostgreSQL",
        "COPY alone", "over two", "to COPY", "commit ms", "records in one",
    ]  # fmt: skip
    told = "End to end, acknowledged after the commit; CPU is per frame\n" + table(head, rates)
    spoken = [
        [
            row["protocol"],
            thousands(row["frames_per_s"]),
            f"{row['teltonika_ratio']:.2f}",
            f"{row['cpu_us_per_frame']:.1f}",
            f"{row['teltonika_cpu_us_per_frame']:.1f}",
            f"{row['store_cpu_us_per_frame']:.1f}",
            thousands(row["records_per_commit"]),
            f"{row['bytes_per_frame']:.0f}",
            f"{row['generator_busy']:.2f}",
        ]
        for row in ingest
        if "teltonika_ratio" in row
    ]
    if spoken:
        head = [
            "frames/s", "of Teltonika's", "CPU µs", "Teltonika's", "PostgreSQL", "records in a commit", "bytes",
            "generator busy",
        ]  # fmt: skip
        told += "\n\nEach protocol, one frame of one record in flight\n" + table(["terminals speak", *head], spoken)
    return told


def _latency(told: Result) -> str:
    return (
        f"Ack latency at {thousands(told['frames_per_s'])} frames/s: p50 {told['p50_ms']:.1f} ms, "
        f"p99 {told['p99_ms']:.1f} ms; the bare server's {told['bare_p50_ms']:.1f} and {told['bare_p99_ms']:.1f} ms; "
        f"the host kept {100 * told['stolen']:.0f} % of the machine's time"
    )


def _mqtt(told: Result) -> str:
    return (
        f"MQTT, acknowledged after the commit: {thousands(told['messages_per_s'])} messages/s; a subscriber made with "
        f"aiomqtt that only acknowledges: {thousands(told['bare_messages_per_s'])}; ratio {told['ratio']:.2f}"
    )


def _workers(told: Result) -> str:
    return (
        f"{told['workers']} workers with {told['terminals']:,} terminals: {thousands(told['frames_per_s'])} frames/s, "
        f"{told['ratio']:.2f} of one process ({thousands(told['one_frames_per_s'])})"
    )


def _desk(told: Result) -> str:
    burst, loaded = told["burst"], told["loaded"]
    pages = ", ".join(
        f"{name} {loaded[name]['ms']:.0f} ms ({told['quiet'][name]['ms']:.0f} in quiet)" for name in loaded
    )
    return (
        f"Desk with {told['tickets']:,} tickets at {thousands(told['load']['frames_per_s'])} frames/s, medians: "
        f"{pages}\n"
        f"  {burst['opened_meanwhile']:,} of {burst['terminals']:,} tickets opened while acks were timed at "
        f"{thousands(burst['frames_per_s'])} frames/s: p99 {burst['p99_ms']:.1f} ms, {burst['ratio']:.2f} of the quiet "
        f"{burst['quiet_p99_ms']:.1f} ms"
    )


def _memory(told: Result) -> str:
    both = told.get("two_workers")
    if both:
        alone = {name: value for name, value in told.items() if name != "two_workers"}
        return f"{_memory(alone)}\nTwo workers: {_memory(both)}"
    prefix = "bytes_per_connection_at_"
    flat = "".join(f"with {name.removeprefix(prefix)}: {told[name]:,}; " for name in told if name.startswith(prefix))
    return (
        f"Memory with {told['connections']:,} terminals connected and idle: {told['bytes_per_connection']:,} bytes "
        f"each ({flat}before any data: {told['bytes_per_connection_before_data']:,}); "
        f"what one terminal's traffic touches: {(told['empty_bytes'] - told['fresh_bytes']) / 1e6:.1f} MB once\n"
        f"  all of them back within {told['reconnect_seconds']:.0f} s: login p50 {told['login_p50_ms']:.1f} ms, "
        f"p99 {told['login_p99_ms']:.1f} ms; all at once: p99 {told['login_p99_ms_at_once']:.0f} ms"
    )


def _scale(told: Result) -> str:
    text = (
        f"At {told['terminals']:,} terminals: a tick {told['tick_ms']:.1f} ms; the state update of a batch of "
        f"{told['update_records']:,} records {told['update_ms']:.2f} ms"
    )
    if "startup_s" in told:
        text += (
            f", {100 * told['update_ms'] / told['commit_ms']:.0f} % of its commit ({told['commit_ms']:.1f} ms); "
            f"start to ready {told['startup_s']:.1f} s"
        )
    return text


# -- the README ---------------------------------------------------------------------------------------------------


def markdown(result: Result) -> str:
    """The README's table."""
    lines = [
        "| terminals | frames in flight | records in a frame | frames/s | records/s | ratio to the bare server |",
        "|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['terminals']:,} | {row['window']} | {row['records_per_frame']} | {thousands(row['frames_per_s'])} | "
        f"{thousands(row['records_per_s'])} | {row['ratio']:.2f} |".replace(",", " ")
        for row in result["ingest"]
        if "ratio" in row
    ]
    machine = result["machine"]
    more = [
        f"{machine['cpu']}, {machine['cores']} cores shared with the load generator and PostgreSQL "
        f"{machine['postgres']}, Python {machine['python']}, commit {result['commit']}."
    ]
    if result.get("latency"):
        told = result["latency"]
        more.append(
            f"At {thousands(told['frames_per_s'])} frames/s an ack takes {told['p50_ms']:.1f} ms (median) and "
            f"{told['p99_ms']:.1f} ms (99 of 100); one of the bare server's, which stores nothing, "
            f"{told['bare_p50_ms']:.1f} and {told['bare_p99_ms']:.1f} ms; the machine's host kept "
            f"{100 * told['stolen']:.0f} % of its time meanwhile."
        )
    if result.get("memory"):
        more.append(f"An idle terminal costs {result['memory']['bytes_per_connection'] / 1000:.1f} KB.")
    if result.get("decode"):
        rates = [f"{name} {thousands(told['records_per_s'])}" for name, told in result["decode"].items()]
        more.append(f"One core decodes, in records/s: {', '.join(rates)}.")
    more.append("[What each figure means](docs/performance.md).")
    return "\n".join([*lines, "", *more])


def write_readme(result: Result, page: Path = README) -> None:
    """Put the table between the README's markers."""
    old = page.read_text(encoding="utf-8")
    begin = re.search(rf"^{re.escape(_BEGIN)}.*-->\n", old, re.MULTILINE)
    end = old.find(_END)
    if begin is None or end < begin.end():
        raise ValueError(f"{page} has lost its markers")
    page.write_text(f"{old[: begin.end()]}\n{markdown(result)}\n\n{old[end:]}", encoding="utf-8")


# -- plots --------------------------------------------------------------------------------------------------------


def plots(result: Result) -> dict[str, str]:
    """Name to SVG: bars of what was measured."""
    made = {}
    loads = [row for row in result.get("ingest", ()) if "ratio" in row]
    if loads:
        made["ingest"] = _bars(
            "Frames a second, acknowledged after the commit",
            [
                (f"{row['terminals']} terminals, {row['window']} in flight, {row['records_per_frame']} records",
                 [("Dozor", row["frames_per_s"]), ("bare server", row["bare_frames_per_s"])])
                for row in loads
            ],
            _foot(result),
        )  # fmt: skip
        made["store"] = _bars(
            "Records a second, stored",
            [
                (f"{row['terminals']} terminals, {row['window']} in flight, {row['records_per_frame']} records",
                 [("Dozor", row["records_per_s"]), ("COPY alone, one connection", row["copy_records_per_s"]),
                  ("COPY alone, two connections", row["copy2_records_per_s"])])
                for row in loads
            ],
            _foot(result),
        )  # fmt: skip
    if result.get("decode"):
        made["decode"] = _bars(
            "Records a second, decoded by one core",
            [(name, _decoders(told)) for name, told in result["decode"].items()],
            _foot(result),
        )
    return made


def _decoders(told: Result) -> list[tuple[str, float]]:
    ways = [("session and decoder", told["records_per_s"]), ("declaration", told["construct_records_per_s"])]
    if told["struct_records_per_s"]:
        ways.append(("struct loop", told["struct_records_per_s"]))
    return [*ways, *told["public"].items()]


def _foot(result: Result) -> str:
    machine = result["machine"]
    return f"{machine['cpu']}, {machine['cores']} cores, {result['commit']}, {result['taken_at']}"


def _bars(title: str, groups: list[tuple[str, list[tuple[str, float]]]], foot: str) -> str:
    """Horizontal bars, the first of each group ours."""
    most = max(value for _, bars in groups for _, value in bars)
    width, left, row = 960, 330, 20
    y, body = 64, []
    for name, bars in groups:
        body.append(f'<text x="16" y="{y}" font-weight="600">{escape(name)}</text>')
        for n, (label, value) in enumerate(bars):
            y += row
            length = max(1.0, (width - left - 110) * value / most)
            body.append(f'<text x="{left - 10}" y="{y}" text-anchor="end">{escape(label)}</text>')
            fill = _GREY if n else _BLUE
            body.append(f'<rect x="{left}" y="{y - 12}" width="{length:.1f}" height="14" fill="{fill}"/>')
            body.append(f'<text x="{left + length + 6:.1f}" y="{y}">{thousands(value)}</text>')
        y += row + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {y + 16}" font-family="sans-serif" '
        f'font-size="13" fill="{_TEXT}"><rect width="100%" height="100%" fill="white"/>'
        f'<text x="16" y="30" font-size="17" font-weight="600">{escape(title)}</text>{"".join(body)}'
        f'<text x="16" y="{y}" font-size="11" fill="#66727f">{escape(foot)}</text></svg>\n'
    )
