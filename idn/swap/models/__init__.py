"""What swaps the faces of crops: students, teachers and exported files, as one kind of thing."""
