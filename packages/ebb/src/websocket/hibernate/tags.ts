/** Tags of connections, and the connections of each tag: a relation in typed arrays, without objects. */
import { grown, lengthened, resized, shortened, shrunk } from '../../sys/arrays.js'
import { invalidArgument, shown } from '../../sys/errors.js'

/** A connection has at most this many tags, each of at most this many characters, as in Durable Objects. */
const MAX_TAGS = 10
const MAX_TAG_LENGTH = 256

/** End of a list. */
const NONE = -1

/**
 * Returns the tags without duplicates.
 *
 * @throws {TypeError} `ERR_INVALID_ARG_VALUE` for anything but a list of at most 10 strings of 1 to 256 characters
 */
export function checkTags(tags: unknown): string[] {
  if (!Array.isArray(tags)) throw invalidArgument(`tags must be a list of strings, not ${shown(tags)}`)
  for (const tag of tags) {
    if (typeof tag === 'string' && tag.length > 0 && tag.length <= MAX_TAG_LENGTH) continue
    throw invalidArgument(`a tag must be a string of 1 to ${MAX_TAG_LENGTH} characters, not ${shown(tag)}`)
  }
  const different = [...new Set(tags as string[])]
  if (different.length > MAX_TAGS) {
    throw invalidArgument(`a connection has at most ${MAX_TAGS} tags, not ${different.length}`)
  }
  return different
}

/** @throws {TypeError} `ERR_INVALID_ARG_VALUE` if `tag` is given and not a string */
export function checkTag(tag: unknown): void {
  if (tag !== undefined && typeof tag !== 'string') throw invalidArgument(`tag must be a string, not ${shown(tag)}`)
}

/**
 * The tags of all connections. A connection is given by its row.
 *
 * Each tag of each connection is a *link*, an index of five arrays. A link is in two lists: the tags of its connection,
 * and the connections of its tag.
 */
export class TagIndex {
  /** By row: its first link + 1; 0 if it has no tags. */
  #first = new Int32Array(0)

  // By link. Of a free link, `#nextOfRow` is the next free one.
  #row = new Int32Array(0)
  #tag = new Int32Array(0)
  #nextOfRow = new Int32Array(0)
  #nextOfTag = new Int32Array(0)
  #previousOfTag = new Int32Array(0)
  #freeLink = NONE
  #links = 0

  // By tag number.
  #names: string[] = []
  /** The first link of the tag, and how many it has. */
  #head: number[] = []
  #sizes: number[] = []
  readonly #numbers = new Map<string, number>()
  #freeNumbers: number[] = []

  /** Number of tags that a connection has. */
  get tags(): number {
    return this.#numbers.size
  }

  /** Memory of the arrays, in bytes, without the names of the tags. */
  get bytes(): number {
    return this.#first.byteLength + 5 * this.#row.byteLength
  }

  /** Returns how many connections have a tag. */
  size(tag: string): number {
    const number = this.#numbers.get(tag)
    return number === undefined ? 0 : (this.#sizes[number] as number)
  }

  /** Returns the rows of the connections that have a tag now. */
  rows(tag: string): Int32Array {
    const number = this.#numbers.get(tag)
    if (number === undefined) return new Int32Array(0)
    const rows = new Int32Array(this.#sizes[number] as number)
    let link = this.#head[number] as number
    for (let i = 0; i < rows.length; i++) {
      rows[i] = this.#row[link] as number
      link = this.#nextOfTag[link] as number
    }
    return rows
  }

  /** Returns the tags of a connection, in the order in which they were set. */
  get(row: number): string[] {
    const tags: string[] = []
    for (let link = this.#firstOf(row); link !== NONE; link = this.#nextOfRow[link] as number) {
      tags.push(this.#names[this.#tag[link] as number] as string)
    }
    return tags
  }

  /** Replaces the tags of a connection. @param tags different from each other */
  set(row: number, tags: readonly string[]): void {
    this.delete(row)
    for (const tag of tags.toReversed()) this.#link(row, this.#numberOf(tag))
  }

  /** Removes the tags of a connection. */
  delete(row: number): void {
    let link = this.#firstOf(row)
    if (link === NONE) return
    this.#first[row] = 0
    while (link !== NONE) {
      const next = this.#nextOfRow[link] as number
      this.#unlink(link)
      link = next
    }
  }

  #firstOf(row: number): number {
    return (this.#first[row] ?? 0) - 1
  }

  #numberOf(tag: string): number {
    const known = this.#numbers.get(tag)
    if (known !== undefined) return known
    const number = this.#freeNumbers.pop() ?? this.#names.length
    // A copy: a part of a string keeps the whole string, such as a request, in memory.
    const name = Buffer.from(tag, 'utf16le').toString('utf16le')
    this.#names[number] = name
    this.#head[number] = NONE
    this.#sizes[number] = 0
    this.#numbers.set(name, number)
    return number
  }

  #link(row: number, number: number): void {
    if (this.#freeLink === NONE) this.#grow()
    const link = this.#freeLink
    this.#freeLink = this.#nextOfRow[link] as number
    this.#links++
    if (row >= this.#first.length) this.#first = lengthened(this.#first, row)
    const head = this.#head[number] as number
    this.#row[link] = row
    this.#tag[link] = number
    this.#nextOfRow[link] = this.#firstOf(row)
    this.#nextOfTag[link] = head
    this.#previousOfTag[link] = NONE
    if (head !== NONE) this.#previousOfTag[head] = link
    this.#first[row] = link + 1
    this.#head[number] = link
    this.#sizes[number] = (this.#sizes[number] as number) + 1
  }

  #unlink(link: number): void {
    const number = this.#tag[link] as number
    const next = this.#nextOfTag[link] as number
    const previous = this.#previousOfTag[link] as number
    if (next !== NONE) this.#previousOfTag[next] = previous
    if (previous === NONE) this.#head[number] = next
    else this.#nextOfTag[previous] = next
    const size = (this.#sizes[number] as number) - 1
    this.#sizes[number] = size
    if (size === 0) {
      this.#numbers.delete(this.#names[number] as string)
      this.#names[number] = ''
      this.#freeNumbers.push(number)
    }
    this.#nextOfRow[link] = this.#freeLink
    this.#freeLink = link
    this.#links--
  }

  #grow(): void {
    const before = this.#row.length
    this.#resize(Math.max(grown(before, before + 1), 2 * before))
  }

  /** Changes the number of links. All links from `this.#links` on are free. */
  #resize(length: number): void {
    this.#row = resized(this.#row, new Int32Array(length))
    this.#tag = resized(this.#tag, new Int32Array(length))
    this.#nextOfRow = resized(this.#nextOfRow, new Int32Array(length))
    this.#nextOfTag = resized(this.#nextOfTag, new Int32Array(length))
    this.#previousOfTag = resized(this.#previousOfTag, new Int32Array(length))
    for (let link = this.#links; link < length; link++) this.#nextOfRow[link] = link + 1 < length ? link + 1 : NONE
    this.#freeLink = this.#links < length ? this.#links : NONE
  }

  /** Frees memory. @param end no row from here on has tags */
  trim(end: number): void {
    if (shrunk(this.#links) * 2 <= this.#row.length || this.#numbers.size * 2 < this.#names.length) this.#rebuild()
    this.#first = shortened(this.#first, end)
  }

  /** Makes the relation anew, with the links and the tags that are left. The order of connections stays. */
  #rebuild(): void {
    const left: [rows: Int32Array, tag: string][] = []
    for (const tag of this.#numbers.keys()) left.push([this.rows(tag).reverse(), tag])
    const tagsOf = new Map<number, string[]>()
    for (const [rows] of left) for (const row of rows) if (!tagsOf.has(row)) tagsOf.set(row, this.get(row))
    this.#first.fill(0)
    this.#links = 0
    this.#resize(0)
    this.#names = []
    this.#head = []
    this.#sizes = []
    this.#freeNumbers = []
    this.#numbers.clear()
    for (const [row, tags] of tagsOf) this.set(row, tags)
  }
}
