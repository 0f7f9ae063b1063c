"""What a search is asked: made into a problem, and looked at for limits that nothing keeps."""
