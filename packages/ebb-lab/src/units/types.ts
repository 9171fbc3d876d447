/** Types that TypeScript does not have by itself. */

/** `Omit` for a union: leaves the keys out of each member, where `Omit` would merge the members into one type. */
export type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never
