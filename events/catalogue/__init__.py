"""What a project sends: its event names and their properties, learned from what is sealed, bounded whatever is sent."""
