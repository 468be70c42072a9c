/* The functions of shim.h: each is one DPDK inline or macro made callable, nothing more. */
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/types.h>

#include <rte_crypto.h>
#include <rte_cryptodev.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_mbuf.h>

#include "shim.h"

struct rte_mbuf *causeway_mbuf_alloc(struct rte_mempool *pool)
{
	return rte_pktmbuf_alloc(pool);
}

void causeway_mbuf_free(struct rte_mbuf *mbuf)
{
	rte_pktmbuf_free(mbuf);
}

uint16_t causeway_rx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_rx_burst(port, queue, packets, count);
}

uint16_t causeway_tx_burst(uint16_t port, uint16_t queue, struct rte_mbuf **packets, uint16_t count)
{
	return rte_eth_tx_burst(port, queue, packets, count);
}

struct rte_crypto_op *causeway_crypto_op_alloc(struct rte_mempool *pool)
{
	return rte_crypto_op_alloc(pool, RTE_CRYPTO_OP_TYPE_SYMMETRIC);
}

void causeway_crypto_op_free(struct rte_crypto_op *op)
{
	rte_crypto_op_free(op);
}

uint16_t causeway_crypto_enqueue(uint8_t device, uint16_t pair, struct rte_crypto_op **ops, uint16_t count)
{
	return rte_cryptodev_enqueue_burst(device, pair, ops, count);
}

uint16_t causeway_crypto_dequeue(uint8_t device, uint16_t pair, struct rte_crypto_op **ops, uint16_t count)
{
	return rte_cryptodev_dequeue_burst(device, pair, ops, count);
}

int causeway_errno(void)
{
	return rte_errno;
}

unsigned causeway_lcore_id(void)
{
	return rte_lcore_id();
}

static causeway_log_sink log_sink;

static ssize_t write_log(void *cookie, const char *text, size_t length)
{
	(void)cookie;
	log_sink((uint32_t)rte_log_cur_msg_loglevel(), text, length);
	return (ssize_t)length;
}

int causeway_log_redirect(causeway_log_sink sink)
{
	cookie_io_functions_t functions = { .write = write_log };
	FILE *stream;

	log_sink = sink;
	stream = fopencookie(NULL, "w", functions);
	if (stream == NULL)
		return -1;
	/* One write per line, so that a line reaches the sink whole and at once. */
	setvbuf(stream, NULL, _IOLBF, BUFSIZ);
	return rte_openlog_stream(stream);
}
