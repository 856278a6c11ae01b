import Glibc

/// Whether a sanitizer is linked: it keeps several bytes of its own for each of ours.
package let isSanitized = dlsym(nil, "__asan_init") != nil || dlsym(nil, "__tsan_init") != nil
