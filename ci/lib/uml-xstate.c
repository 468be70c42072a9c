/* Preloaded into User-Mode Linux 6.1 on processors with AMX.
 *
 * UML hands its guests' extended register state to ptrace(PTRACE_SETREGSET) in a buffer sized for AVX-512. Where the
 * host's state is larger, the host kernel refuses that with EFAULT and UML panics. This puts the guest's part over the
 * whole state of the traced process, which is what the host wants to see.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <elf.h>
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>

#define LARGEST_XSTATE (64 * 1024)

long ptrace(enum __ptrace_request request, ...)
{
	static long (*next)(enum __ptrace_request, ...);
	static unsigned char whole[LARGEST_XSTATE] __attribute__((aligned(64)));
	va_list arguments;
	va_start(arguments, request);
	int pid = va_arg(arguments, int);
	void *address = va_arg(arguments, void *);
	void *data = va_arg(arguments, void *);
	va_end(arguments);
	if (!next)
		next = dlsym(RTLD_NEXT, "ptrace");
	if (request == PTRACE_SETREGSET && (long)address == NT_X86_XSTATE) {
		const struct iovec *part = data;
		struct iovec all = { whole, sizeof whole };
		if (next(PTRACE_GETREGSET, pid, address, &all) == 0 && all.iov_len > part->iov_len) {
			memcpy(whole, part->iov_base, part->iov_len);
			return next(PTRACE_SETREGSET, pid, address, &all);
		}
	}
	return next(request, pid, address, data);
}
