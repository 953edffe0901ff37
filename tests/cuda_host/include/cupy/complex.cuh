// std::complex, which the prelude names, in place of the complex numbers of CuPy.
#pragma once
