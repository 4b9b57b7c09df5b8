"""What destinations are told, and how."""
