"""What heads attend to: head metrics of students, which heads moved, divergence, association, maps."""
