"""Who there is: users and their passwords."""
