"""How a verification is shown."""

from rich.table import Table

from recwire_server.model.verification import Verification


def verification_table(verification: Verification) -> Table:
    """Return what was measured beside what the gate asks for."""
    manifest, fidelity, gate = verification.manifest, verification.fidelity, verification.manifest.gate
    table = Table(title=f"{manifest.name} {manifest.precision}, {fidelity.text_count:,} texts, beside fp32")
    table.add_column("what")
    table.add_column("measured", justify="right")
    table.add_column("gate", justify="right")
    table.add_row("mean cosine", f"{fidelity.mean_cosine:.5f}", f">= {gate.min_mean_cosine}")
    table.add_row("least cosine", f"{fidelity.min_cosine:.5f}", "")
    table.add_row("top-10 neighbours kept", f"{fidelity.neighbours_kept:.4f}", f">= {gate.min_neighbours_kept}")
    limit = "" if gate.max_batch_difference is None else f"<= {gate.max_batch_difference:.0e}"
    for kind, difference in fidelity.batch_differences.items():
        table.add_row(f"alone against {kind}", f"{difference:.1e}", limit)
    speed, reference = verification.speed, verification.reference_speed
    for what, ours, theirs in (
        ("one text at a time", speed.single, reference.single),
        ("sorted batches of 8", speed.batched, reference.batched),
    ):
        table.add_row(f"texts a CPU second, {what}", f"{ours:,.0f} ({ours / theirs:.2f}x fp32)", "")
    return table
