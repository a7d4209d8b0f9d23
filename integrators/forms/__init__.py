"""What the sampling equation becomes: its semilinear forms, of the flow and of reverse SDEs."""
