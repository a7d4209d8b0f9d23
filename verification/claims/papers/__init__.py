"""What each paper claims: a file of records a paper, with what decides its own claims."""
