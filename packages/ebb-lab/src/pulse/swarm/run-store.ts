/** Where the states of resumable runs are stored. */

/** Stores values with revisions: an update succeeds only if nobody has stored another value since. */
export interface RunStore {
  /** Description for people: `bucket ebb-lab of NATS at 10.0.0.1:4222`. */
  readonly name: string
  /**
   * Stores a new value. Returns its revision.
   *
   * @throws {SwarmError} if the store cannot be used
   */
  create(key: string, value: Uint8Array): Promise<number>
  /**
   * Returns a value with its revision, or undefined.
   *
   * @throws {SwarmError} if the store cannot be used
   */
  get(key: string): Promise<{ value: Uint8Array; revision: number } | undefined>
  /**
   * Replaces a value. Returns its revision.
   *
   * @throws {SwarmError} if the store cannot be used, or the revision is not the last one
   */
  update(key: string, value: Uint8Array, revision: number): Promise<number>
  /** Removes a value. Does nothing if the store cannot be used or the revision is not the last one. */
  delete(key: string, revision: number): Promise<void>
  /** Closes the store. */
  close(): Promise<void>
}
