"""Problems with exact scores and flows, claims, replay of released code, and the command line."""
