"""Code of pyautogui as agents write it and machines of OSWorld run it: read as actions, and written. Nothing of it is ever run."""
