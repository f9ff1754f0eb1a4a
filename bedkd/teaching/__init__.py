"""What learners and teachers need beside the chapters: exercises that check themselves."""
