"""The five screens and the dialogs over them: each lays out widgets and answers their keys."""
