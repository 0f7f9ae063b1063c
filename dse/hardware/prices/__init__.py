"""What an action costs and how large a part is, by technology and supply voltage."""
