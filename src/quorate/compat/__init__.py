"""Drop-in faces for the users of other libraries: each has the names and the behaviour of the one that it replaces."""
