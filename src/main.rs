//! The binary: everything is in the library.

/// glibc's gives each thread a heap of its own and returns little of it: a box that took many uploads at once would keep
/// their buffers for good.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> std::process::ExitCode {
    dryport::tls::install_provider();
    dryport::cli::main()
}
