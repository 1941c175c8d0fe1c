"""What people look at: pictures, tables and the report."""
