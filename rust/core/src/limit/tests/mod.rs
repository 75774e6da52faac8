//! Tests that need to look inside the table.
