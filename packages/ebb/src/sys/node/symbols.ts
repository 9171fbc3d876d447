/** Properties that Node keeps under symbols of its own. Only the description of such a symbol is known. */

/** Returns the symbol of an own property of `object`; undefined if it has none with this description. */
export function symbolOf(object: object, description: string): symbol | undefined {
  return Object.getOwnPropertySymbols(object).find((symbol) => symbol.description === description)
}

/** Returns an own property of `object` by the description of its symbol; undefined if it has none. */
export function symbolProperty(object: object, description: string): unknown {
  const symbol = symbolOf(object, description)
  return symbol === undefined ? undefined : (object as Record<symbol, unknown>)[symbol]
}
