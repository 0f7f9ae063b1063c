"""The best mapping where an operand passes several private or several shared memories."""
