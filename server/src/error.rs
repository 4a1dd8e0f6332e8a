//! What the program fails with.

/// Any error. The program prints it, with its sources, and ends.
pub type AnyError = Box<dyn std::error::Error + Send + Sync>;
