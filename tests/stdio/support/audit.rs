//! The log, read with the program's own commands.
