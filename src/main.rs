//! The binary: everything is in the library.

fn main() -> std::process::ExitCode {
    dryport::tls::install_provider();
    dryport::cli::main()
}
