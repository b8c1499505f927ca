//! Text in images: the labels of the rows of a grid.

use std::convert::Infallible;

use embedded_graphics::Drawable;
use embedded_graphics::Pixel;
use embedded_graphics::draw_target::DrawTarget;
use embedded_graphics::geometry::{OriginDimensions, Point, Size};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle, iso_8859_1};
use embedded_graphics::pixelcolor::BinaryColor;
use embedded_graphics::text::{Alignment, Baseline, Text, TextStyleBuilder};

use crate::image::Image;

/// The largest number of characters of a label; longer ones end in an ellipsis.
const MAX_CHARACTERS: usize = 24;

/// The font of labels beside images of this height.
pub(crate) fn font(image_height: usize) -> &'static MonoFont<'static> {
    match image_height {
        0..12 => &iso_8859_1::FONT_6X10,
        12..28 => &iso_8859_1::FONT_7X13,
        _ => &iso_8859_1::FONT_9X18,
    }
}

/// The text as a label shows it.
pub(crate) fn label(text: &str) -> String {
    if text.chars().count() <= MAX_CHARACTERS {
        return text.to_owned();
    }
    text.chars().take(MAX_CHARACTERS - 2).chain("..".chars()).collect()
}

/// The width of a label in pixels.
pub(crate) fn width(text: &str, font: &MonoFont<'_>) -> usize {
    label(text).chars().count() * (font.character_size.width + font.character_spacing) as usize
}

/// Draws a label in black with its right end at `x` and its middle at `y`. Characters beyond Latin-1 become question
/// marks.
pub(crate) fn draw(image: &mut Image, text: &str, font: &MonoFont<'_>, x: usize, y: usize) {
    draw_aligned(image, text, font, (x, y), Alignment::Right);
}

/// Draws a label in black with its middle at (x, y).
pub(crate) fn draw_centered(image: &mut Image, text: &str, font: &MonoFont<'_>, x: usize, y: usize) {
    draw_aligned(image, text, font, (x, y), Alignment::Center);
}

fn draw_aligned(image: &mut Image, text: &str, font: &MonoFont<'_>, (x, y): (usize, usize), alignment: Alignment) {
    let style = MonoTextStyle::new(font, BinaryColor::On);
    let layout = TextStyleBuilder::new().alignment(alignment).baseline(Baseline::Middle).build();
    let text = label(text);
    let text = Text::with_text_style(&text, Point::new(x as i32, y as i32), style, layout);
    let Ok(_) = text.draw(&mut Canvas(image));
}

/// An image as the target of drawing: pixels become black and opaque.
struct Canvas<'a>(&'a mut Image);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width as u32, self.0.height as u32)
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = BinaryColor;
    type Error = Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<BinaryColor>>>(&mut self, pixels: I) -> Result<(), Infallible> {
        let Image { width, height, channels, samples } = &mut *self.0;
        for Pixel(Point { x, y }, color) in pixels {
            let (Ok(x), Ok(y)) = (usize::try_from(x), usize::try_from(y)) else { continue };
            if x >= *width || y >= *height || color == BinaryColor::Off {
                continue;
            }
            let pixel = &mut samples[(y * *width + x) * *channels..][..*channels];
            pixel.fill(0);
            if let [_, _, _, alpha] = pixel {
                *alpha = 255;
            }
        }
        Ok(())
    }
}
