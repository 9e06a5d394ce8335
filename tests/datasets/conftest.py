import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # dataset_frames.py, small datasets on disk
