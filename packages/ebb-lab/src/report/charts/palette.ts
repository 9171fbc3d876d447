/**
 * The colours of the charts. They are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with any
 * colour vision can tell apart. Lines differ in their kind as well, so that a black-and-white print can be read.
 */
export interface Palette {
  background: string
  text: string
  faint: string
  grid: string
  /** A pulse while it is held. */
  held: string
  /** A pulse while it connects or closes. */
  moving: string
  anonymous: string
  resident: string
  need: string
  released: string
  system: string
  clients: string
  clientsArea: string
}

export const LIGHT: Palette = {
  background: '#ffffff',
  text: '#1b1f24',
  faint: '#59616b',
  grid: '#e4e7eb',
  held: 'rgba(89, 105, 130, 0.16)',
  moving: 'rgba(89, 105, 130, 0.07)',
  anonymous: '#0072b2',
  resident: '#7a828c',
  need: '#d55e00',
  released: '#009e73',
  system: '#1b1f25',
  clients: '#b98200',
  clientsArea: 'rgba(230, 159, 0, 0.18)'
}

/**
 * Colours of the servers of a box, light and dark, in their order and again from the first. Each colour differs from
 * every colour of the palettes, because the page swaps colours one for one.
 */
export const SERVERS: readonly (readonly [light: string, dark: string])[] = [
  ['#0072b3', '#4ea6e6'],
  ['#e69f01', '#f0b429'],
  ['#009e74', '#2fc79b'],
  ['#cc79a7', '#e29ac2'],
  ['#56b4e8', '#9bd3f5'],
  ['#d55e01', '#ff8a3e'],
  ['#8f7a00', '#c9b037'],
  ['#6b5b95', '#a394d1']
]

/** All colours of a palette differ, because the page swaps light for dark one by one. */
export const DARK: Palette = {
  background: '#15181c',
  text: '#e8eaed',
  faint: '#a3abb5',
  grid: '#2c3138',
  held: 'rgba(160, 180, 210, 0.17)',
  moving: 'rgba(160, 180, 210, 0.08)',
  anonymous: '#56b4e9',
  resident: '#8b949f',
  need: '#ff8a3d',
  released: '#2fc79a',
  system: '#e8eaee',
  clients: '#e69f00',
  clientsArea: 'rgba(230, 159, 0, 0.2)'
}
