"""Is everything here, and is this machine set up well? What ``panoptag doctor`` says.

Every part looks at one thing and gives :class:`Finding`\\ s: what there is, and what to do where that is not good.
"""

from panoptag_pyg.doctor.examination import Examination, examine
from panoptag_pyg.doctor.finding import NOTE, OK, PROBLEM, Finding

__all__ = ["NOTE", "OK", "PROBLEM", "Examination", "Finding", "examine"]
