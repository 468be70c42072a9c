/* Callable forms of what DPDK only offers as static inline functions, macros or thread-local variables. */
#ifndef CAUSEWAY_SHIM_H
#define CAUSEWAY_SHIM_H

#include <stddef.h>
#include <stdint.h>

struct rte_crypto_op;
struct rte_mbuf;
struct rte_mempool;

/* One packet buffer, or NULL when the pool is empty. */
struct rte_mbuf *causeway_mbuf_alloc(struct rte_mempool *pool);
/* Gives back a buffer and every segment chained to it. */
void causeway_mbuf_free(struct rte_mbuf *mbuf);
/* Receives up to `count` packets into `packets`; answers how many. */
uint16_t causeway_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
/* Sends up to `count` packets; answers how many the port took over. */
uint16_t causeway_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count);
/* One symmetric crypto operation of a pool of them, or NULL when it is empty. */
struct rte_crypto_op *causeway_crypto_op_alloc(struct rte_mempool *pool);
/* Gives an operation back to its pool. */
void causeway_crypto_op_free(struct rte_crypto_op *op);
/* Gives up to `count` operations to a queue pair; answers how many it took over. */
uint16_t causeway_crypto_enqueue(uint8_t device, uint16_t pair, struct rte_crypto_op **ops, uint16_t count);
/* Takes up to `count` finished operations from a queue pair; answers how many. */
uint16_t causeway_crypto_dequeue(uint8_t device, uint16_t pair, struct rte_crypto_op **ops, uint16_t count);
/* The calling thread's rte_errno. */
int causeway_errno(void);
/* The calling thread's lcore id; LCORE_ID_ANY when it is not registered. */
unsigned causeway_lcore_id(void);

/* Gets one piece of log text, its RTE_LOG_* level, and its length; the text is not terminated. */
typedef void (*causeway_log_sink)(uint32_t level, const char *text, size_t length);
/* Sends all DPDK log output to `sink` from now on; 0, or -1 with errno set. */
int causeway_log_redirect(causeway_log_sink sink);

#endif
