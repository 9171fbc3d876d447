/** The child's side of `child.mjs`: carries out the parent's orders and ends when the parent ends. */

/** @import { Order, Orders } from './child.mjs' */

/**
 * The arguments that the parent gave to `Child.start`.
 *
 * @type {unknown[]}
 */
export const given = process.argv.slice(2).map((arg) => JSON.parse(arg))

/**
 * Tells the parent that this process is ready, and then answers each order with the result of the function of its name.
 *
 * @param {Orders} orders
 * @param {number} [port] the port that this process listens on, if it is a server
 */
export function answer(orders, port) {
  process.on('message', async (message) => {
    const { id, order, args } = /** @type {Order} */ (message)
    try {
      const work = /** @type {((...args: readonly unknown[]) => unknown) | undefined} */ (orders[order])
      if (work === undefined) throw new Error(`no such order: ${order}`)
      process.send?.({ id, result: (await work(...args)) ?? null })
    } catch (error) {
      process.send?.({ id, error: error instanceof Error ? error.stack : String(error) })
    }
  })
  process.on('disconnect', () => process.exit())
  process.send?.({ id: 0, result: port })
}
