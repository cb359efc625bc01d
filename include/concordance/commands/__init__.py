"""What each command of the command line does. What is heavy is imported when a command runs, so that `--help`,
`settings` and `status` answer at once."""
