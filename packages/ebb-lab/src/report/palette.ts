/**
 * The colours of the pictures: those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which people with any colour
 * vision tell apart, and lines of different kinds besides, so that a print in black and white can be read.
 */
export interface Palette {
  background: string
  text: string
  faint: string
  grid: string
  /** A pulse, while it is held and while it connects or closes. */
  held: string
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

/** Every colour differs from every other within a palette: the page swaps them one for one. */
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
