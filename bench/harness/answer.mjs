/** The side of a forked process: answers the orders of child.mjs, and ends with its parent. */

/** What the parent gave: see `Child.start`. */
export const given = process.argv.slice(2).map((arg) => JSON.parse(arg))

/** `orders`: a function for each; its result, or what it resolves with, is the answer. `ready`: told at once. */
export function answer(orders, ready) {
  process.on('message', async ({ id, order, args }) => {
    try {
      process.send({ id, result: (await orders[order](...args)) ?? null })
    } catch (error) {
      process.send({ id, error: error.stack })
    }
  })
  process.on('disconnect', () => process.exit())
  process.send({ id: 0, result: ready })
}
