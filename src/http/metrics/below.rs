//! The counters of the modules below, as they are when the text is asked for.

use super::text::{counter, decimal, gauge, histogram, seconds};
use crate::app::App;
use crate::store::{BATCH_BOUNDS, COMMIT_MICROS_BOUNDS, Counters};

/// Adds all of them.
pub(super) fn render(out: &mut String, app: &App) {
    store(out, &app.store.counters());
    content(out, app);
    collector(out, app);
    scrub(out, app);
    let passwords = "Passwords that were hashed or compared with a hash.";
    let checked = app.auth.passwords_checked();
    counter(out, "dryport_auth_passwords_total", passwords, checked);
}

fn store(out: &mut String, c: &Counters) {
    for (name, help, value) in [
        ("commits_total", "Durable commits.", c.commits),
        (
            "file_commits_total",
            "Commits that wrote and synced the metadata file itself, not its log.",
            c.settled,
        ),
        (
            "closures_total",
            "Transactions grouped into commits.",
            c.closures,
        ),
        (
            "failed_commits_total",
            "Commits whose outcome is unknown.",
            c.failed_commits,
        ),
        (
            "refused_full_total",
            "Changes refused because the disk is full.",
            c.refused_full,
        ),
        // What no client may choose: how much one of its requests looks at.
        ("read_rows_total", "Rows that reads looked at.", c.read_rows),
    ] {
        counter(out, &format!("dryport_store_{name}"), help, value);
    }
    for (name, help, value) in [
        ("queue", "Transactions that wait for the writer.", c.queued),
        (
            "largest_batch",
            "Most transactions in one commit.",
            c.largest_batch,
        ),
        (
            "read_rows_max",
            "Most rows that one read looked at.",
            c.read_looks,
        ),
        (
            "write_rows_max",
            "Most rows that one transaction looked at.",
            c.write_looks,
        ),
        ("file_bytes", "Size of the metadata file.", c.file_bytes),
        (
            "reserve_owed_bytes",
            "What the reserve lacks: while it is not 0 the disk is full, and pushes are refused; or the file system keeps no room for files, and it stays so.",
            c.reserve_owed,
        ),
    ] {
        gauge(out, &format!("dryport_store_{name}"), help, value);
    }
    batches(out, c);
}

fn batches(out: &mut String, c: &Counters) {
    let ends = COMMIT_MICROS_BOUNDS.map(seconds);
    let name = "dryport_store_commit_seconds";
    let sum = seconds(c.commit_micros);
    let counts = &c.commit_micros_buckets;
    histogram(out, name, "Time of a commit.", &ends, counts, &sum);
    let ends = BATCH_BOUNDS.map(|n| n.to_string());
    let name = "dryport_store_batch_size";
    let help = "Transactions that one commit answered.";
    let sum = c.closures.to_string();
    histogram(out, name, help, &ends, &c.batch_buckets, &sum);
}

fn content(out: &mut String, app: &App) {
    let b = app.blobs.counters();
    let fsyncs = "Flushes of content files and folders.";
    counter(out, "dryport_blobs_fsyncs_total", fsyncs, b.fsyncs);
    let name = "dryport_blobs_fsync_seconds_total";
    decimal(out, name, "Time spent in them.", b.fsync_micros);
    let bytes = "Bytes written to content files.";
    counter(out, "dryport_blobs_received_bytes_total", bytes, b.bytes_in);
    let sealed = "Contents made durable.";
    counter(out, "dryport_blobs_sealed_total", sealed, b.blobs_sealed);
    let rehashed = "Bytes of unfinished uploads that were hashed again from their files.";
    let name = "dryport_uploads_rehashed_bytes_total";
    counter(out, name, rehashed, b.bytes_rehashed);
    let listed = "Files of unfinished uploads that were listed.";
    counter(
        out,
        "dryport_uploads_listed_total",
        listed,
        b.uploads_listed,
    );
    let r = app.repos.counters();
    let open = "Upload sessions that are open.";
    gauge(out, "dryport_uploads_open", open, r.open_uploads);
    let memory = "Bytes of uploads in memory.";
    gauge(out, "dryport_upload_memory_bytes", memory, r.upload_memory);
    let entries = "Entries in the cache of small bodies.";
    gauge(out, "dryport_cache_entries", entries, r.cache.entries);
    gauge(out, "dryport_cache_bytes", "Bytes in it.", r.cache.bytes);
    let hits = "Look-ups that it answered.";
    counter(out, "dryport_cache_hits_total", hits, r.cache.hits);
    let misses = "Look-ups that it did not answer.";
    counter(out, "dryport_cache_misses_total", misses, r.cache.misses);
}

fn collector(out: &mut String, app: &App) {
    let c = app.collector.counters();
    counter(
        out,
        "dryport_gc_sweeps_total",
        "Sweeps that ended.",
        c.sweeps,
    );
    let failed = "Sweeps that failed; the next one goes on from there.";
    counter(out, "dryport_gc_failed_total", failed, c.failed);
    let blobs = "Blobs that nothing needed any more.";
    counter(out, "dryport_gc_freed_blobs_total", blobs, c.freed_blobs);
    counter(
        out,
        "dryport_gc_freed_bytes_total",
        "Their bytes.",
        c.freed_bytes,
    );
}

fn scrub(out: &mut String, app: &App) {
    let c = app.checker.scrub_counters();
    counter(
        out,
        "dryport_scrub_blobs_total",
        "Blobs that the scrub has read.",
        c.blobs,
    );
    counter(
        out,
        "dryport_scrub_bytes_total",
        "Bytes that the scrub has read.",
        c.bytes,
    );
    counter(
        out,
        "dryport_scrub_damaged_total",
        "Blobs that the scrub found damaged.",
        c.damaged,
    );
    counter(
        out,
        "dryport_scrub_unreadable_total",
        "Blobs that the disk refused to read.",
        c.unreadable,
    );
    gauge(
        out,
        "dryport_scrub_stray_files",
        "Content files that no blob needs.",
        c.strays,
    );
    gauge(
        out,
        "dryport_scrub_pass_bytes",
        "Bytes of this pass that are read.",
        c.pass_bytes,
    );
    gauge(
        out,
        "dryport_scrub_pass_total_bytes",
        "All bytes of this pass.",
        c.pass_total,
    );
    gauge(
        out,
        "dryport_scrub_last_full_timestamp_seconds",
        "When the last full pass ended; 0: never.",
        c.last_full_ms / 1000,
    );
}
