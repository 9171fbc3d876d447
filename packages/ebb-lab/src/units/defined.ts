type Defined<T> = { [K in keyof T]?: Exclude<T[K], undefined> }

/** Returns an object without its undefined fields, so that an option that was not given is not there. */
export function defined<T extends object>(values: T): Defined<T> {
  return Object.fromEntries(Object.entries(values).filter(([, value]) => value !== undefined)) as Defined<T>
}
