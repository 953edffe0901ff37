// The prelude's atomics: one thread runs at a time.
#pragma once
